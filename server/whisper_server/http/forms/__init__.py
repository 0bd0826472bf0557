"""The forms of the two audio routes: from a multipart body to what the pipeline is asked for."""

from whisper_server.api.values import Policy
from whisper_server.http.forms.multipart import FormLimits, refuse_by_headers
from whisper_server.http.forms.read import Form, read_form

__all__ = ["Form", "FormLimits", "Policy", "read_form", "refuse_by_headers"]
