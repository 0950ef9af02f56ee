//! What people read: the template and the page of documentation, to the letter.
#![allow(clippy::unwrap_used)]

// Each test program uses a part of it.
#[allow(dead_code)]
mod common;

use cairn_config::{documentation, template};
use common::schema;

#[test]
fn the_template_comments_on_every_variable_by_category() {
    assert_eq!(
        template(&schema()),
        "\
# Every variable of this image, by category. A line without `#` needs a value; what stands behind
# `#` holds as it is. Secrets are kept apart: a definition names one as NAME = { secret = \"name\" }.

# ---- application ----

# How much is logged
# choice of debug, info, warning, error; optional
# LOG_LEVEL=info

# Where clients reach the API
# url; required
# example: https://api.spirittours.com
PUBLIC_URL=

# Sites whose pages may call the API
# list matching ^https://; optional
# CORS_ORIGINS=

# What the site is called
# string; optional
# SITE_NAME='Spirit Tours'

# ---- database ----

# Connections that each worker keeps to the database
# integer from 1 to 100; optional
# DATABASE_POOL_SIZE=20

# ---- security ----

# Signs the tokens of users
# string of at least 32 characters; required, secret
# set with: deploy secrets set jwt-secret
# JWT_SECRET=

# How long a session lives
# duration of at least 60 seconds; optional
# SESSION_TTL=12h

# ---- payments ----

# Without it nobody can pay
# string matching ^sk_(test|live)_; optional, secret
# example: sk_test_example
# set with: deploy secrets set stripe-key
# STRIPE_KEY=

# ---- features ----

# Whether guests may write reviews
# boolean; optional
# FEATURE_REVIEWS=true
"
    );
}

#[test]
fn the_documentation_is_a_table_for_each_category() {
    assert_eq!(
        documentation(&schema()),
        "\
## application

| Variable | Type | Default | Meaning |
|---|---|---|---|
| `LOG_LEVEL` | choice of debug, info, warning, error | `info` | How much is logged |
| `PUBLIC_URL` | url | required | Where clients reach the API (for example `https://api.spirittours.com`) |
| `CORS_ORIGINS` | list matching `^https://` | none | Sites whose pages may call the API |
| `SITE_NAME` | string | `Spirit Tours` | What the site is called |

## database

| Variable | Type | Default | Meaning |
|---|---|---|---|
| `DATABASE_POOL_SIZE` | integer from 1 to 100 | `20` | Connections that each worker keeps to the database |

## security

| Variable | Type | Default | Meaning |
|---|---|---|---|
| `JWT_SECRET` | string of at least 32 characters | required secret | Signs the tokens of users |
| `SESSION_TTL` | duration of at least 60 seconds | `12h` | How long a session lives |

## payments

| Variable | Type | Default | Meaning |
|---|---|---|---|
| `STRIPE_KEY` | string matching `^sk_(test\\|live)_` | secret | Without it nobody can pay (for example `sk_test_example`) |

## features

| Variable | Type | Default | Meaning |
|---|---|---|---|
| `FEATURE_REVIEWS` | boolean | `true` | Whether guests may write reviews |
"
    );
}
