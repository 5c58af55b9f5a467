//! The words by which systems name kinds of change.

use aiops_core::EventKind;

/// The kind that a word, or a dotted or dashed list of words, names: `deployment`,
/// `dev.cdevents.service.deployed.0.1.1`. The first word that names one decides.
pub(super) fn kind_of_change(text: &str) -> EventKind {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let kind = |word: &str| match word.to_ascii_lowercase().as_str() {
        "deploy" | "deployment" | "deployed" | "release" | "released" | "rollout" | "upgraded"
        | "rollback" | "rolledback" | "published" => Some(EventKind::Deploy),
        "config" | "configuration" | "flag" | "featureflag" | "setting" | "settings" => {
            Some(EventKind::Config)
        }
        "scaling" | "scale" | "scaled" | "autoscaling" | "resize" => Some(EventKind::Scaling),
        "restart" | "restarted" | "reboot" => Some(EventKind::Restart),
        "job" | "cron" | "batch" | "backup" => Some(EventKind::Job),
        "maintenance" => Some(EventKind::Maintenance),
        "silence" | "silenced" | "mute" => Some(EventKind::Silence),
        _ => None,
    };
    words.filter_map(kind).next().unwrap_or(EventKind::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_systems() {
        assert_eq!(kind_of_change("dev.cdevents.service.deployed.0.1.1"), EventKind::Deploy);
        assert_eq!(kind_of_change("Feature flag"), EventKind::Config);
        assert_eq!(kind_of_change("com.example.scale-up"), EventKind::Scaling);
        assert_eq!(kind_of_change("coffee"), EventKind::Other);
    }
}
