"""`report.html`: one page without outside links about everything a training output holds."""
