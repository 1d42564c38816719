"""Made-up people: a head that is rendered in any pose and expression, as labelled frames or as video files.

Guarantees: no real person's data is used or resembled on purpose; everything follows from seeds. Used for the
demonstration, for tests, for public pretraining (which costs no privacy budget) and for canaries.
"""
