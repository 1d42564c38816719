"""The journeys: each is one function from parsed arguments to a result, under an access decision and an audit entry.

A journey is the only place where engines and guarantees meet. It asks for a decision, takes only consents that are
effective, does the work, and commits its rows and its log entry in one transaction or not at all.
"""
