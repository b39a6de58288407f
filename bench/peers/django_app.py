"""django-eventstream under uvicorn, in one process and without a store."""

import os

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django_eventstream"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(16).hex(),
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django_eventstream import send_event  # noqa: E402
from django_eventstream.views import events  # noqa: E402


def publish(request):
    send_event(request.GET["channel"], "message", request.body.decode(), json_encode=False)
    return HttpResponse(status=204)


urlpatterns = [path("stream", events), path("publish", publish)]
app = get_asgi_application()
