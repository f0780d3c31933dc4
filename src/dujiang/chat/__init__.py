"""The pipeline that every chat call goes through."""
