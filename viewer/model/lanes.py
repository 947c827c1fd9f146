"""The lanes of the session's work: a new job on one takes the place of the older.

Indexing has its own: while a folder is being looked through, what is open goes on loading, and
stays if the folder turns out to hold nothing.
"""

INDEXING = "indexing"
LOADING = "loading"
SCORING = "scoring"
EXPORTING = "exporting"
THUMBNAILS = "thumbnails"
URGENT = (INDEXING, LOADING, SCORING)
"""What the reader waits for: work in the background lets it go first."""
