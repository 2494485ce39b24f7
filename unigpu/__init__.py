"""The pure core of unigpu: what pods ask for, where it goes, and the files that carry it. No I/O in here."""
