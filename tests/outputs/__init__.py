"""Where commands write: what is never replaced, who may write, and what is there after a kill."""
