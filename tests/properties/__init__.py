"""Whatever people bring: generated tables, configurations and options give the right count, or one sentence.

FACTCLI_EXAMPLES is how many are tried in all, 500 by default.
"""
