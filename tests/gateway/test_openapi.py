import json
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator, validate
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


def resolve(reference: str) -> Any:
    target: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        target = target[step]
    return target


def responses_of(path: str, method: str = "get") -> dict[str, Any]:
    """Return an operation's responses, references followed."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    return {
        status: resolve(response["$ref"]) if "$ref" in response else response
        for status, response in responses.items()
    }


def error_classes() -> list[type[errors.GatewayError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.GatewayError)
    ]


def test_the_document_is_valid_openapi_3_1() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)


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
    assert described == served


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    found = set(references(DOCUMENT))
    assert all(resolve(reference) for reference in found)
    components = {
        f"#/components/{kind}/{name}"
        for kind, members in DOCUMENT["components"].items()
        for name in members
    }
    assert components - found == {"#/components/responses/Error404"}  # of no path that there is


def test_request_and_response_are_described_by_the_contract() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["PredictRequest"] == contract.schema()
    assert schemas["PredictResponse"] == contract.response_schema()


def test_predict_describes_every_error_that_there_is() -> None:
    responses = responses_of("/predict", "post")
    assert set(responses) == {"200", "405", *(str(error.status) for error in error_classes())}
    assert "X-Evalgate-Answers" in responses["200"]["headers"]


def test_what_can_be_tried_again_later_says_when() -> None:
    responses = responses_of("/predict", "post")
    later = {
        status for status, response in responses.items() if "Retry-After" in response["headers"]
    }
    assert later == {"429"}


def test_every_response_carries_the_request_id() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method in methods:
            for response in responses_of(path, method).values():
                assert "X-Request-Id" in response["headers"]


def test_the_error_schema_fits_what_is_sent() -> None:
    schema = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]
    sent = json.loads(errors.encode_error("InvalidRequest", "no", "id"))["error"]
    assert set(sent) == set(schema["properties"]) == set(schema["required"])
    names = {error.__name__ for error in error_classes()}
    assert {*names, "NotFound", "MethodNotAllowed"} <= set(schema["properties"]["type"]["enum"])
