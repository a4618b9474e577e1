//! The page at `/`: small files embedded in the program, which send requests to this port alone.
//!
//! They hold no data and need no token, so that the page can ask for it; what it shows comes from
//! `/live`, which needs the token. Plain modules without a build step: what is in `dashboard/` is what
//! a browser gets.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// One file.
struct Asset {
    path: &'static str,
    kind: Kind,
    text: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Html,
    Css,
    Script,
    Svg,
}

/// Nothing may be loaded from, sent to, or framed by another origin.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! assets {
    ($($path:literal $kind:ident $file:literal,)*) => {
        [$(Asset {
            path: $path,
            kind: Kind::$kind,
            text: include_str!(concat!("dashboard/", $file)),
        }),*]
    };
}

static ASSETS: [Asset; 19] = assets! {
    "/" Html "index.html",
    "/dashboard/style.css" Css "style.css",
    "/dashboard/icon.svg" Svg "icon.svg",
    "/dashboard/main.js" Script "main.js",
    "/dashboard/dom.js" Script "dom.js",
    "/dashboard/format.js" Script "format.js",
    "/dashboard/stream.js" Script "stream.js",
    "/dashboard/theme.js" Script "theme.js",
    "/dashboard/verdict.js" Script "verdict.js",
    "/dashboard/figures.js" Script "figures.js",
    "/dashboard/files.js" Script "files.js",
    "/dashboard/map.js" Script "map.js",
    "/dashboard/world.js" Script "world.js",
    "/dashboard/upstreams.js" Script "upstreams.js",
    "/dashboard/usage.js" Script "usage.js",
    "/dashboard/limits.js" Script "limits.js",
    "/dashboard/requests.js" Script "requests.js",
    "/dashboard/nodes.js" Script "nodes.js",
    "/dashboard/regions.js" Script "regions.js",
};

impl Kind {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Css => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Svg => "image/svg+xml",
        }
    }
}

impl Asset {
    fn answer(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind.content_type()),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // A new build shows at once; the files are small and local.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.text).into_response()
    }
}

/// Serves the page and its files.
pub(super) fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async || asset.answer()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files together.
    const BYTES_MAX: usize = 300 << 10;

    #[test]
    fn all_files_together_are_small() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.text.len()).sum();
        assert!(bytes < BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn every_file_that_another_names_is_served() {
        let paths: Vec<&str> = ASSETS.iter().map(|asset| asset.path).collect();
        for asset in &ASSETS {
            let named = asset.text.split(['"', '\'']).filter_map(|text| {
                let local = text
                    .strip_prefix("./")
                    .map(|file| format!("/dashboard/{file}"));
                local.or_else(|| text.starts_with("/dashboard/").then(|| text.to_owned()))
            });
            for name in named {
                assert!(
                    paths.contains(&name.as_str()),
                    "{} names {name}",
                    asset.path
                );
            }
        }
    }

    #[test]
    fn no_file_names_another_host_or_makes_markup_of_data() {
        for asset in &ASSETS {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "eval(",
                "insertAdjacent",
            ] {
                assert!(!text.contains(word), "{} has {word}", asset.path);
            }
        }
    }
}
