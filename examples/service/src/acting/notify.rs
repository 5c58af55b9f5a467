//! Ways to tell people, as they are configured.

use std::sync::Arc;

use aiops_act::http::HttpClient;
use aiops_act::notify::http::{PagerDuty, SignedWebhook, SlackWebhook};
use aiops_act::notify::{LineNotifier, Notifier};
use aiops_act::secret::Secret;

use super::config::{Route, RouteKind};
use crate::{Error, Result};

pub(super) fn notifier(route: &Route, client: &Arc<dyn HttpClient>) -> Result<Arc<dyn Notifier>> {
    let failed = |reason: String| {
        let stage = "notify";
        Error::Stage { stage, reason: format!("route {:?}: {reason}", route.name) }
    };
    let secret = || -> Result<Secret> {
        let name = route
            .secret_from
            .as_deref()
            .ok_or_else(|| failed("secret_from is missing".to_owned()))?;
        let value =
            std::env::var(name).map_err(|_| failed(format!("the variable {name} is not set")))?;
        Ok(Secret::new(value))
    };
    let url = || route.url.as_deref().ok_or_else(|| failed("url is missing".to_owned()));
    let (name, client) = (&*route.name, client.clone());
    Ok(match route.kind {
        RouteKind::Pagerduty => {
            let pagerduty = PagerDuty::new(name, secret()?, client);
            Arc::new(if let Some(url) = &route.url { pagerduty.at(url) } else { pagerduty })
        }
        RouteKind::Slack => Arc::new(SlackWebhook::new(name, secret()?, client)),
        RouteKind::Webhook => Arc::new(SignedWebhook::new(name, url()?, secret()?, client)),
        RouteKind::Log => Arc::new(LineNotifier::new(name, Box::new(std::io::stderr()))),
    })
}
