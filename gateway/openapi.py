"""The OpenAPI 3.1 document of the HTTP interface, from the same table that makes the routes. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.documents import Problem
from gateway.parameters import IN_PATH, PLAIN, Parameter
from gateway.policies import Policy
from gateway.problems import CONTENT_TYPE
from gateway.route import Route

#: A variable part of a path, with the pattern that the router may want for it.
_VARIABLE = re.compile(r"\{(\w+)(?::[^}]+)?\}")
_REFERENCES = "#/components/schemas/{model}"


def openapi_path(path: str) -> str:
    """A route's path without the patterns of its variables."""
    return _VARIABLE.sub(r"{\1}", path)


def make_document(routes: Iterable[Route], *, version: str) -> dict[str, Any]:
    """The document that describes these routes."""
    routes = list(routes)
    models: dict[type[BaseModel], None] = {Problem: None}
    for route in routes:
        models |= dict.fromkeys(model for model in route.answers.values() if model is not None)
        if route.body is not None:
            models[route.body] = None
    references, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCES)
    schemas = {model: references[model, "validation"] for model in models}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(openapi_path(route.path), {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PyExecutorHub",
            "version": version,
            "description": "Runs scripts and bots in fresh Docker containers, on demand.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _operation(route: Route, schemas: dict[type[BaseModel], Any]) -> dict[str, Any]:
    answers = {
        str(status): {"description": "Done"}
        if model is None
        else _answer(model.__doc__ or "", schemas[model], "application/json")
        for status, model in route.answers.items()
    } | {str(status): _answer("Done", {"type": "string"}, content_type) for status, content_type in route.other_answers.items()}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z]+', '_', openapi_path(route.path))}".rstrip("_"),
        "responses": answers | {"default": _answer("A problem", schemas[Problem], CONTENT_TYPE)},
    }
    if route.policy is Policy.OPEN:
        operation["security"] = []
    parameters = [_parameter(name, IN_PATH.get(name, PLAIN), where="path") for name in _VARIABLE.findall(route.path)] + [
        _parameter(name, parameter, where=where)
        for where, described in (("query", route.query), ("header", route.headers))
        for name, parameter in described.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": schemas[route.body]}}
        operation["requestBody"] = {"required": route.needs_body, "content": content}
    return operation


def _parameter(name: str, parameter: Parameter, *, where: str) -> dict[str, Any]:
    described = {"name": name, "in": where, "required": where == "path", "schema": dict(parameter.schema)}
    return described | ({"description": parameter.meaning} if parameter.meaning else {})


def _answer(description: str, schema: Any, content_type: str) -> dict[str, Any]:
    return {"description": description.strip(), "content": {content_type: {"schema": schema}}}
