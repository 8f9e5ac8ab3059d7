//! Which names stand before secrets.
//!
//! It is the one place that decides: what is shown of local variables, attributes, keys of dicts, headers and environments
//! asks here.

/// Parts of names, without what may stand between their words.
const SECRET: &[&str] = &["password", "secret", "token", "authorization", "cookie", "apikey"];

/// Whether what stands under this name is not shown: `DB_PASSWORD`, `HTTP_AUTHORIZATION`, `apiKey`, `Set-Cookie`.
pub fn is_secret(name: &str) -> bool {
    // Each of them has one of these letters; most names have none, and there are many names.
    let may_be = |byte: u8| !byte.is_ascii() || b"kwzc".contains(&byte.to_ascii_lowercase());
    if !name.bytes().any(may_be) {
        return false;
    }
    let between = |c: &char| !matches!(c, '_' | '-' | ' ' | '.');
    let plain: String = name.chars().filter(between).flat_map(char::to_lowercase).collect();
    SECRET.iter().any(|part| plain.contains(part))
}

/// For those who asked to see everything.
pub fn nothing_is_secret(_name: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_all_their_spellings() {
        for name in [
            "password",
            "DB_PASSWORD",
            "old-password",
            "client_secret",
            "SECRET_KEY",
            "csrfToken",
            "X-Auth-Token",
            "HTTP_AUTHORIZATION",
            "Authorization",
            "Set-Cookie",
            "HTTP_COOKIE",
            "api_key",
            "API-KEY",
            "apiKey",
            "pass_word",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["", "key", "pass", "user", "author", "api", "keyboard", "sec_ret_"] {
            assert_eq!(is_secret(name), name == "sec_ret_", "{name}");
        }
        assert!(SECRET.iter().all(|part| is_secret(part) && is_secret(&part.to_uppercase())));
        assert!(!nothing_is_secret("password"));
    }
}
