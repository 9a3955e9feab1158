"""The OpenAPI document as a page for people: no script, nothing from elsewhere. Pure."""

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body { color: #1a2230; background: #fff }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #f2f4f8; padding: .75rem 1rem; overflow-x: auto; border-radius: 6px }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700 }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { color: #dde3ee; background: #12161d } pre { background: #1d2430 } }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: What the page may load: its own style, known by its hash, and nothing else.
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def render(document: dict[str, Any]) -> str:
    """The page."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    body = "\n".join(_operations(document))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1><p>{escape(info['description'])}</p>"
        "<p>Log in with <code>POST /auth/login</code> and send the token with every other request. The same as an OpenAPI"
        f" document: <code>GET /openapi.json</code>.</p>\n{body}\n</body></html>\n"
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f'<h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>'
            yield f"<p>{escape(operation['summary'])}</p>"
            rows = "".join(
                f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter.get('description', ''))}</td></tr>"
                for parameter in operation.get("parameters", [])
            )
            if rows:
                yield f"<table>{rows}</table>"
            yield f"<pre>{escape(_curl(method.upper(), path, operation, schemas))}</pre>"


def _curl(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A call that can be pasted, once the names in braces are replaced."""
    words = ["curl"]
    if method != "GET":
        words.append(f"-X {method}")
    if operation.get("security") != []:
        words.append('-H "Authorization: Bearer $TOKEN"')
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        properties = schemas[schema["$ref"].rpartition("/")[2]]["properties"]
        # What may be null is seldom said.
        example = {
            name: {} if kind.get("type") == "object" else "…" for name, kind in properties.items() if "anyOf" not in kind
        }
        words.append(f"-H 'Content-Type: application/json' -d '{json.dumps(example, ensure_ascii=False)}'")
    return " ".join([*words, f"http://localhost:8001{path}"])
