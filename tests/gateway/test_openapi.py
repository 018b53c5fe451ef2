import json
from typing import Any

from starlette.routing import Route

from gateway import contract, errors
from gateway.app import create_app
from gateway.openapi import document
from gateway.settings import Settings

DOCUMENT = document("1.2.3")


def references(value: Any) -> list[str]:
    """Collect every `$ref` in a JSON value."""
    if isinstance(value, list):
        return [ref for item in value for ref in references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return own + [ref for item in value.values() for ref in references(item)]


def test_the_document_is_json_of_the_version_that_it_names() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_route_of_the_application_is_described() -> None:
    served = {
        route.path: (route.methods or set()) - {"HEAD"}
        for route in create_app(Settings()).routes
        if isinstance(route, Route)
    }
    described = {
        path: {method.upper() for method in methods} for path, methods in DOCUMENT["paths"].items()
    }
    assert served.pop("/openapi.json") == {"GET"}
    assert described == served


def test_every_reference_leads_somewhere() -> None:
    found = references(DOCUMENT)
    assert found
    for reference in found:
        target: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target["type"] == "object"


def test_the_request_is_described_by_the_contract() -> None:
    assert DOCUMENT["components"]["schemas"]["PredictRequest"] == contract.schema()


def test_every_answer_of_predict_is_an_answer_or_a_known_error() -> None:
    responses = dict(DOCUMENT["paths"]["/predict"]["post"]["responses"])
    schema = responses.pop("200")["content"]["application/json"]["schema"]
    assert schema["required"] == ["response"]
    known = {
        str(value.status)
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.GatewayError)
    }
    assert set(responses) <= known


def test_the_error_schema_fits_what_is_sent() -> None:
    schema = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]
    sent = json.loads(errors.encode_error("InvalidRequest", "no", "id"))["error"]
    assert set(sent) == set(schema["properties"])
    assert set(schema["required"]) <= set(json.loads(errors.encode_error("X", "y"))["error"])
