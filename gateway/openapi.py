"""Owns the machine-readable description of the routes (OpenAPI 3.1); pure."""

from __future__ import annotations

from typing import Any

from gateway import contract
from gateway.errors import GatewayError
from gateway.observe import HEADER
from gateway.phase import Phase

_DESCRIPTION = f"""\
Answers an evaluator's questions through a language model server.

`HEAD` is answered wherever `GET` is. A path that is not described here is answered with 404, save
those below `/status`, which are the page's own and change with it. Every error has the form of the
schema `Error`; only bytes that are no HTTP request get a plain 400, without `{HEADER}`. A slash
behind a path is redirected to the path without it.
"""
# What no class of errors.py stands for: the router's own answers.
_ROUTING_ERRORS = ("NotFound", "MethodNotAllowed")
_ERRORS = {
    "400": "the request breaks the contract; the message names the field or the prompt's index",
    "404": "there is no such path",
    "405": "the path has no such method; `Allow` names those that it has",
    "408": "the body was not all there in time",
    "413": "the body or the batch is over its limit",
    "429": "more prompts are waiting than the gateway accepts",
    "500": "a defect of the gateway; its log holds the traceback",
    "502": "the engine answered with something that is not a completion",
    "503": "the engine was lost under every prompt, each time that it was asked",
    "504": "the deadline came before any answer",
}
_NO_ROUTE = ("404",)
_EVERY_ROUTE = ("405", "500")


def document(version: str, *, has_status_page: bool = True) -> dict[str, Any]:
    """Return the OpenAPI document; the status page may be switched off."""
    page = {"/status": {"get": _get("status", "what runs, as a page", _page())}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Evalgate",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/": {"get": _get("health", "what an evaluator asks first", _health("/"))},
            "/predict": {"post": _predict()},
            "/livez": {"get": _get("livez", "whether the process is up", _alive())},
            "/readyz": {"get": _get("readyz", "whether the engine is warm", _health("/readyz"))},
            "/metrics": {"get": _get("metrics", "Prometheus metrics", _metrics())},
            "/info": {"get": _get("info", "what runs, and why it is not ready", _info())},
            **(page if has_status_page else {}),
            "/openapi.json": {"get": _get("openapi", "this document", _openapi())},
        },
        "components": {
            "schemas": _schemas(),
            "headers": _headers(),
            "parameters": {"RequestId": _request_id_parameter()},
            "responses": {_error_name(status): _error(status) for status in _ERRORS},
        },
    }


def _get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return _operation(name, summary, responses | _error_references(_EVERY_ROUTE))


def _predict() -> dict[str, Any]:
    answers = _answer("answers, as many as prompts and in their order", _ref("PredictResponse"))
    answers["headers"]["X-Evalgate-Answers"] = _ref("Answers", "headers")
    statuses = tuple(status for status in _ERRORS if status not in _NO_ROUTE)
    request = {
        "required": True,
        "description": "Read as JSON, whatever the Content-Type says.",
        "content": {"application/json": {"schema": _ref("PredictRequest")}},
    }
    return {
        **_operation(
            "predict",
            "answer one prompt, or a list of prompts",
            {"200": answers, **_error_references(statuses)},
        ),
        "requestBody": request,
    }


def _operation(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_ref("RequestId", "parameters")],
        "responses": responses,
    }


def _health(path: str) -> dict[str, Any]:
    words = ["batch", "ok"] if path == "/" else ["ok"]
    return {
        "200": _answer("the engine is warm", _status_schema(*words)),
        "503": _answer("starting, warming or lost", _status_schema("warming")),
    }


def _alive() -> dict[str, Any]:
    return {"200": _answer("it is", _status_schema("ok"))}


def _metrics() -> dict[str, Any]:
    return {"200": _answer("the exposition", {"type": "string"}, "text/plain")}


def _info() -> dict[str, Any]:
    return {"200": _answer("with the settings, the engine and the last errors", _ref("Info"))}


def _page() -> dict[str, Any]:
    return {"200": _answer("the page, for people", {"type": "string"}, "text/html")}


def _openapi() -> dict[str, Any]:
    schema = {"type": "object", "required": ["openapi", "info", "paths", "components"]}
    return {"200": _answer("OpenAPI 3.1", schema)}


def _answer(
    description: str, schema: dict[str, Any], media_type: str = "application/json"
) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {HEADER: _ref("RequestId", "headers")},
        "content": {media_type: {"schema": schema}},
    }


def _error(status: str) -> dict[str, Any]:
    answer = _answer(_ERRORS[status], _ref("Error"))
    if status == "405":
        answer["headers"]["Allow"] = _ref("Allow", "headers")
    if status == "429":
        answer["headers"]["Retry-After"] = _ref("RetryAfter", "headers")
    return answer


def _error_references(statuses: tuple[str, ...]) -> dict[str, Any]:
    return {status: _ref(_error_name(status), "responses") for status in statuses}


def _error_name(status: str) -> str:
    return f"Error{status}"


def _ref(name: str, kind: str = "schemas") -> dict[str, Any]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _schemas() -> dict[str, Any]:
    return {
        "PredictRequest": contract.schema(),
        "PredictResponse": contract.response_schema(),
        "Info": _info_schema(),
        "Error": _error_schema(),
    }


def _status_schema(*words: str) -> dict[str, Any]:
    return _object({"status": {"type": "string", "enum": list(words)}})


def _info_schema() -> dict[str, Any]:
    return _object(
        {
            "name": {"const": "evalgate"},
            "version": {"type": "string"},
            "phase": {"type": "string", "enum": [phase.value for phase in Phase]},
            "is_ready": {"type": "boolean"},
            "reason": {"type": "string", "description": 'why it is not ready, else ""'},
            "engine": {
                "type": ["object", "null"],
                "description": "what the guardian tells of the engine",
            },
            "settings": {"type": "object", "additionalProperties": _setting_schema()},
            "last_errors": {"type": "array", "items": {"type": "object"}},
        }
    )


def _setting_schema() -> dict[str, Any]:
    return _object({"value": {}, "is_default": {"type": "boolean"}})


def _error_schema() -> dict[str, Any]:
    detail = {
        "type": {"type": "string", "enum": [*_names_of(GatewayError), *_ROUTING_ERRORS]},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
    }
    return _object({"error": _object(detail)})


def _names_of(error: type[GatewayError]) -> list[str]:
    """Name a class of error and all below it."""
    below = [name for child in error.__subclasses__() for name in _names_of(child)]
    return [error.__name__, *below]


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _headers() -> dict[str, Any]:
    counts = r"^[a-z]+=\d+( [a-z]+=\d+)*$"
    return {
        "RequestId": _header("names the request in the log", {"type": "string", "minLength": 1}),
        "Allow": _header("the methods that the path has", {"type": "string"}),
        "RetryAfter": _header("seconds to wait", {"type": "integer", "minimum": 0}, False),
        "Answers": {
            **_header("how the prompts ended", {"type": "string", "pattern": counts}),
            "example": "whole=356 partial=2 failed=0 unfinished=0 blank=0",
        },
    }


def _header(description: str, schema: dict[str, Any], is_required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": is_required, "schema": schema}


def _request_id_parameter() -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "description": "The request's name, given back and written to the log; one is made up "
        "when there is none, or one that would not be safe in a log line.",
        "schema": {"type": "string"},
    }
