"""Reports: signed evidence first, pages that say exactly what the evidence says second.

Guarantees that a report is a pure function of its evidence, that the evidence is canonical JSON under a
signature, and that a page whose words differ from its evidence does not verify. Does not judge whether the
law is met: it shows facts, and names what is missing.
"""
