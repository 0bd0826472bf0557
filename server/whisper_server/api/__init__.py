"""OpenAI's vocabulary: form fields and their values, answer formats, usage, served models. Knows no transport."""
