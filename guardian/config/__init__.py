"""The configuration: models, the YAML loader with line numbers, and the JSON Schema."""

from guardian.config.backing import LocalStoreConfig, S3StoreConfig, StoreConfig
from guardian.config.loader import Loaded, load, load_config
from guardian.config.models import Config, ServerConfig
from guardian.errors import InvalidConfigError

__all__ = [
    "Config",
    "InvalidConfigError",
    "Loaded",
    "LocalStoreConfig",
    "S3StoreConfig",
    "ServerConfig",
    "StoreConfig",
    "load",
    "load_config",
]
