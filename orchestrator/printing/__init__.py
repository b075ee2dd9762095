"""Invoices on paper: a frozen document as data, as a page of HTML and as a PDF.

Each renderer is a pure function of the document: the same document gives the same bytes.
"""
