"""What every part of Dujiang speaks in: calls, replies, errors. Imports nothing of ours."""
