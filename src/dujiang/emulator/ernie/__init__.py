"""Baidu's two generations of ERNIE: V1 with access tokens and `result`, Qianfan V2 in nearly OpenAI's format."""
