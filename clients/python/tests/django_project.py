"""A small project with Django REST framework and simplejwt."""

from datetime import timedelta
from typing import Any

from django.conf import settings

from adieu.simplejwt import SERIALIZERS

SIMPLE_JWT = {
    **SERIALIZERS,
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "SLIDING_TOKEN_REFRESH_LIFETIME": timedelta(days=2),
    "AUTH_TOKEN_CLASSES": (
        "rest_framework_simplejwt.tokens.AccessToken",
        "rest_framework_simplejwt.tokens.SlidingToken",
    ),
}

settings.configure(
    SECRET_KEY="k" * 50,
    ROOT_URLCONF="django_project",
    ALLOWED_HOSTS=["testserver"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    USE_TZ=True,
    ADIEU={},
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["adieu.django.JWTAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    },
    SIMPLE_JWT=SIMPLE_JWT,
)

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework_simplejwt.views import (  # noqa: E402
    TokenBlacklistView,
    TokenObtainPairView,
    TokenObtainSlidingView,
    TokenRefreshSlidingView,
    TokenRefreshView,
    TokenVerifyView,
)

from adieu.django import blocklist  # noqa: E402

call_command("migrate", verbosity=0)
User.objects.create_user("jose", password="1234")


@api_view(["GET"])  # type: ignore[untyped-decorator]
def protected(request: Any) -> Any:
    return Response(request.user.username)


@api_view(["POST"])  # type: ignore[untyped-decorator]
def log_out(request: Any) -> Any:
    blocklist().revoke(request.auth.payload)
    return Response()


urlpatterns = [
    path("", protected),
    path("logout", log_out),
    path("token", TokenObtainPairView.as_view()),
    path("token/refresh", TokenRefreshView.as_view()),
    path("token/blacklist", TokenBlacklistView.as_view()),
    path("token/verify", TokenVerifyView.as_view()),
    path("sliding", TokenObtainSlidingView.as_view()),
    path("sliding/refresh", TokenRefreshSlidingView.as_view()),
]
