"""ERNIE (文心一言): both generations of Baidu's API as one provider, told apart by the credential."""
