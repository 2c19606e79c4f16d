"""Imports OpenAPI descriptions and calls every operation on a real local server that is made from the same description.

The server shares no code with the importer: it reads what was sent by the description's own rules and validates it with
openapi-schema-validator.
"""
