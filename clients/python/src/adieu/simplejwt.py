"""The settings of simplejwt with which every view of it asks the blocklist; see `adieu.django`.

    SIMPLE_JWT = {**SERIALIZERS, "ROTATE_REFRESH_TOKENS": True, ...}

In a module of its own, since `adieu.django` can't be imported while the settings are being read.
"""

SERIALIZERS = {
    "TOKEN_OBTAIN_SERIALIZER": "adieu.django.TokenObtainPairSerializer",
    "TOKEN_REFRESH_SERIALIZER": "adieu.django.TokenRefreshSerializer",
    "TOKEN_VERIFY_SERIALIZER": "adieu.django.TokenVerifySerializer",
    "TOKEN_BLACKLIST_SERIALIZER": "adieu.django.TokenBlacklistSerializer",
    "SLIDING_TOKEN_OBTAIN_SERIALIZER": "adieu.django.TokenObtainSlidingSerializer",
    "SLIDING_TOKEN_REFRESH_SERIALIZER": "adieu.django.TokenRefreshSlidingSerializer",
}
