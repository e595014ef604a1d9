"""Signed HTTP callbacks after the Standard Webhooks specification: `signing` makes and checks,
`results` reads answers.
"""
