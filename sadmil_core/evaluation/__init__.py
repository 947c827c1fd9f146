"""Predictions judged against labels: metrics, baselines, intervals, signatures, a report.

Tables in (:mod:`.predictions`, :mod:`.labels`), an :class:`~.assessment.Assessment` made of them
(:func:`~.assessment.assess`), and from it a JSON document, a page of HTML, lines on a terminal.
"""
