"""Reports: a page, its tables and its figures, from the JSON that the commands write.

read_document --> build --> html | as_text | figure_file
  (files)        (plain data)      (text, bytes)
"""
