"""The settings with which every view of simplejwt checks the blocklist; see `adieu.django`.

    SIMPLE_JWT = {**SERIALIZERS, "ROTATE_REFRESH_TOKENS": True, ...}

A separate module, because `adieu.django` cannot be imported while the settings are being read.
"""

SERIALIZERS = {
    "TOKEN_OBTAIN_SERIALIZER": "adieu.django.TokenObtainPairSerializer",
    "TOKEN_REFRESH_SERIALIZER": "adieu.django.TokenRefreshSerializer",
    "TOKEN_VERIFY_SERIALIZER": "adieu.django.TokenVerifySerializer",
    "TOKEN_BLACKLIST_SERIALIZER": "adieu.django.TokenBlacklistSerializer",
    "SLIDING_TOKEN_OBTAIN_SERIALIZER": "adieu.django.TokenObtainSlidingSerializer",
    "SLIDING_TOKEN_REFRESH_SERIALIZER": "adieu.django.TokenRefreshSlidingSerializer",
}
