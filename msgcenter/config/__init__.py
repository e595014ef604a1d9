"""Configuration: strict models of the files ops edit, read and cross-checked as a whole, with file,
line and remedy for every fault."""

from msgcenter.config.category import Category, Retry
from msgcenter.config.load import load
from msgcenter.config.policy import CityConfig, PolicyConfig
from msgcenter.config.problems import ConfigError, ConfigErrors, ConfigProblem, Mark
from msgcenter.config.process import ROLES, ProcessConfig, Role
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    ChannelConfig,
    Route,
    RoutesConfig,
)
from msgcenter.config.schema import json_schema
from msgcenter.config.snapshot import FILES, HOT_FILES, PROCESS_FILE, Config, FileInfo, fingerprint
from msgcenter.config.values import Duration, Name, Secret, SecretUrl, Size, Strict, fault

__all__ = [
    "FILES",
    "HOT_FILES",
    "PROCESS_FILE",
    "ROLES",
    "AccountConfig",
    "CallerConfig",
    "Category",
    "ChannelConfig",
    "CityConfig",
    "Config",
    "ConfigError",
    "ConfigErrors",
    "ConfigProblem",
    "Duration",
    "FileInfo",
    "Mark",
    "Name",
    "PolicyConfig",
    "ProcessConfig",
    "Retry",
    "Role",
    "Route",
    "RoutesConfig",
    "Secret",
    "SecretUrl",
    "Size",
    "Strict",
    "fault",
    "fingerprint",
    "json_schema",
    "load",
]
