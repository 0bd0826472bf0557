"""The forms of the two audio routes: from a multipart body to the pipeline's options."""

from whisper_server.http.forms.multipart import FormLimits, refuse_by_headers
from whisper_server.http.forms.read import Form, read_form

__all__ = ["Form", "FormLimits", "read_form", "refuse_by_headers"]
