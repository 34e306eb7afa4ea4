//! axum extractors and refusals for [`adieu`].
