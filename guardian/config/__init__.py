"""The configuration: models, the YAML loader with line numbers, and the JSON Schema."""
