//! The style, the scripts and the icon of the pages, in the binary.

use std::sync::LazyLock;

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file that pages load.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) content: &'static str,
}

static ASSETS: [Asset; 9] = [
    Asset { name: "style.css", content_type: STYLE, content: include_str!("assets/style.css") },
    Asset { name: "icon.svg", content_type: "image/svg+xml", content: include_str!("assets/icon.svg") },
    Asset { name: "session.js", content_type: SCRIPT, content: include_str!("assets/session.js") },
    Asset { name: "forms.js", content_type: SCRIPT, content: include_str!("assets/forms.js") },
    Asset { name: "live.js", content_type: SCRIPT, content: include_str!("assets/live.js") },
    Asset { name: "account.js", content_type: SCRIPT, content: include_str!("assets/account.js") },
    Asset { name: "console.js", content_type: SCRIPT, content: include_str!("assets/console.js") },
    // From the npm package uplot (MIT): `tests/browser` compares them with it.
    Asset { name: "uplot.js", content_type: SCRIPT, content: include_str!("assets/uplot.js") },
    Asset { name: "uplot.css", content_type: STYLE, content: include_str!("assets/uplot.css") },
];

/// The folder of the assets in URLs: it changes when one of them changes, so that browsers may keep them for ever.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Context::new(&SHA256);
    for asset in &ASSETS {
        hash.update(asset.content.as_bytes());
    }
    let digest = hash.finish();
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..9).unwrap_or_default())
});

impl Asset {
    /// Returns the asset with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.name == name)
    }
}
