"""Qianfan V2: OpenAI's format with Baidu's keys, limits, error codes and marks of the content check."""

from dujiang.emulator.ernie.v2.dialect import QianfanDialect

__all__ = ["QianfanDialect"]
