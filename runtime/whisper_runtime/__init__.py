"""What server and operator share: settings from the environment, log lines, metrics, languages. Imports neither of them."""

__version__ = "0.1.0"
