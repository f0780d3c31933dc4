"""OpenAI's chat completions: requests read as strictly as OpenAI reads them, answers in its exact form."""

from dujiang.emulator.openai.dialect import OpenAiDialect

__all__ = ["OpenAiDialect"]
