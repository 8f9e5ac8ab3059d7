"""An application of celery whose queue is in its own memory: `celery -A queued worker`."""
from celery import Celery

app = Celery("queued", broker="memory://")
