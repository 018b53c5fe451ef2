"""Owns the machine-readable description of the routes; pure."""

from __future__ import annotations

from typing import Any

from gateway import contract

_ERRORS = {
    "400": "the request breaks the contract; the message names the field or the prompt's index",
    "413": "the body or the batch is over its limit",
    "502": "the engine answered with something that is not a completion",
    "503": "the engine was lost and did not come back before the deadline",
    "504": "the deadline came before any answer",
}


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Evalgate",
            "version": version,
            "description": "Answers an evaluator's questions through a language model server.",
        },
        "paths": {
            "/": {"get": _health("ok for the evaluator: batch or ok; 503 until warm")},
            "/predict": {"post": _predict()},
            "/livez": {"get": _plain("the gateway's process is up")},
            "/readyz": {"get": _health("the engine is warm; 503 until then")},
            "/metrics": {"get": _plain("Prometheus metrics")},
            "/info": {"get": _plain("what runs, with which settings, and why it is not ready")},
        },
        "components": {"schemas": {"PredictRequest": contract.schema(), "Error": _error_schema()}},
    }


def _predict() -> dict[str, Any]:
    response = {
        "type": "object",
        "required": ["response"],
        "properties": {
            "response": {
                "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                "description": "as many answers as prompts, in order",
            }
        },
    }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    request = {"application/json": {"schema": {"$ref": "#/components/schemas/PredictRequest"}}}
    return {
        "summary": "answer one prompt, or a list of prompts",
        "requestBody": {"required": True, "content": request},
        "responses": {
            "200": {
                "description": "answers",
                "content": {"application/json": {"schema": response}},
            },
            **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
        },
    }


def _health(summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "warm"},
            "503": {"description": "starting, warming or lost"},
        },
    }


def _plain(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary}}}


def _error_schema() -> dict[str, Any]:
    detail = {
        "type": "object",
        "required": ["type", "message"],
        "properties": {
            "type": {"type": "string"},
            "message": {"type": "string"},
            "request_id": {"type": "string"},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": detail}}
