//! What is built from other people's code: licences, bans and sources, as `deny.toml` wants them.
//!
//! cargo-deny would do the same with its advisories on top; this needs neither it nor any network.

use std::collections::BTreeMap;

use docs::repository::Repository;
use docs::spdx::Expression;
use serde::Deserialize;
use serde_json::Value;

#[test]
fn every_crate_has_a_licence_that_deny_toml_allows() {
    let (rules, supply) = opened();
    let judged = |package: &Package| {
        let Some(text) = &package.licence else {
            return Some(format!(
                "{package} names no licence: ask its author, or do without it"
            ));
        };
        let expression = match Expression::parse(text) {
            Ok(expression) => expression,
            Err(error) => {
                return Some(format!(
                    "{package} has a licence that is no SPDX expression, {text:?}: {error}"
                ));
            }
        };
        (!expression.satisfied_by(&rules.licenses.allow)).then(|| {
            format!(
                "{package} is licensed {text:?}: choose another crate, or allow it in deny.toml [licenses]"
            )
        })
    };
    report(supply.packages.iter().filter_map(judged));
}

#[test]
fn no_crate_is_built_that_deny_toml_bans() {
    let (rules, supply) = opened();
    report(rules.bans.deny.iter().flat_map(|ban| {
        supply
            .users(&ban.krate)
            .into_iter()
            .filter(|user| !ban.wrappers.contains(user))
            .map(|user| {
                format!(
                    "{user} brings in {}, which is banned ({}): see deny.toml [bans]",
                    ban.krate, ban.reason
                )
            })
    }));
}

#[test]
fn no_crate_is_built_in_two_versions_without_a_reason() {
    let (rules, supply) = opened();
    assert_eq!(
        rules.bans.multiple_versions, "deny",
        "deny.toml [bans] multiple-versions"
    );
    let mut versions: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in &supply.packages {
        if !rules.bans.skip.iter().any(|skip| skip.matches(package)) {
            versions.entry(&package.name).or_default().push(package);
        }
    }
    report(
        versions
            .into_values()
            .filter(|packages| packages.len() > 1)
            .map(|packages| {
                let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
                format!(
                    "{}: bring them to one version, or say why not in deny.toml [bans] skip",
                    names.join(" and ")
                )
            }),
    );
}

#[test]
fn what_deny_toml_excuses_is_still_there() {
    let (rules, supply) = opened();
    let idle = rules
        .bans
        .skip
        .iter()
        .filter(|skip| !supply.packages.iter().any(|package| skip.matches(package)));
    report(idle.map(|skip| {
        format!(
            "deny.toml [bans] skip names {} ({}), which is gone: remove the line",
            skip.krate, skip.reason
        )
    }));
}

#[test]
fn every_crate_comes_from_a_source_that_deny_toml_allows() {
    let (rules, supply) = opened();
    let Sources {
        unknown_registry,
        unknown_git,
        ..
    } = &rules.sources;
    assert_eq!(
        [unknown_registry, unknown_git],
        ["deny", "deny"],
        "deny.toml [sources]"
    );
    let judged = |package: &Package| {
        let source = package.source.as_deref()?; // without one it is in this workspace
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        let allowed = rules
            .sources
            .allow_registry
            .iter()
            .chain(&rules.sources.allow_git);
        let known = allowed.into_iter().any(|one| one == registry);
        (!known).then(|| format!("{package} comes from {source}: take it from the default registry"))
    };
    report(supply.packages.iter().filter_map(judged));
}

#[test]
fn no_dependency_asks_for_just_any_version() {
    let (rules, supply) = opened();
    assert_eq!(rules.bans.wildcards, "deny", "deny.toml [bans] wildcards");
    assert!(
        rules.bans.allow_wildcard_paths,
        "deny.toml [bans]: paths in this workspace need no version here"
    );
    report(supply.wildcards.iter().map(|(user, name)| {
        format!("{user} asks for {name} in any version: say which in Cargo.toml [workspace.dependencies]")
    }));
}

/// The parts of cargo-deny's configuration that are checked here. A key that is not is refused: nobody would keep it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Bans {
    multiple_versions: String,
    wildcards: String,
    allow_wildcard_paths: bool,
    deny: Vec<Ban>,
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    krate: String,
    /// Crates that may bring it in all the same.
    #[serde(default)]
    wrappers: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// `name@version`, where the version may stop after its first numbers.
    #[serde(rename = "crate")]
    krate: String,
    reason: String,
}

impl Skip {
    fn matches(&self, package: &Package) -> bool {
        let (name, version) = self.krate.split_once('@').unwrap_or((&self.krate, ""));
        let rest = package.version.strip_prefix(version);
        name == package.name
            && rest.is_some_and(|rest| version.is_empty() || rest.is_empty() || rest.starts_with('.'))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
    allow_registry: Vec<String>,
    allow_git: Vec<String>,
}

/// What cargo resolved for the targets of deny.toml.
struct Supply {
    packages: Vec<Package>,
    /// Who depends on whom, by name.
    edges: Vec<(String, String)>,
    /// Who asks for whom in any version.
    wildcards: Vec<(String, String)>,
}

struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    source: Option<String>,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Supply {
    fn read(metadata: &Value) -> Self {
        let nodes = list(&metadata["resolve"]["nodes"]);
        let used: Vec<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
        let mut supply = Self {
            packages: Vec::new(),
            edges: Vec::new(),
            wildcards: Vec::new(),
        };
        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let id = package["id"].as_str().unwrap_or_default();
            names.insert(id, text(&package["name"]));
            if used.contains(&id) {
                supply.add(package);
            }
        }
        let name_of = |id: &Value| {
            names
                .get(id.as_str().unwrap_or_default())
                .cloned()
                .unwrap_or_default()
        };
        for node in nodes {
            let user = name_of(&node["id"]);
            supply.edges.extend(
                list(&node["dependencies"])
                    .iter()
                    .map(|used| (user.clone(), name_of(used))),
            );
        }
        supply
    }

    fn add(&mut self, package: &Value) {
        let own = package["source"].is_null();
        for dependency in list(&package["dependencies"]) {
            // A path in this workspace needs no version; and what others ask for is theirs to say.
            if own && dependency["req"] == "*" && dependency["path"].is_null() {
                self.wildcards
                    .push((text(&package["name"]), text(&dependency["name"])));
            }
        }
        self.packages.push(Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: package["license"].as_str().map(String::from),
            source: package["source"].as_str().map(String::from),
        });
    }

    /// The crates that depend on `name`.
    fn users(&self, name: &str) -> Vec<String> {
        self.edges
            .iter()
            .filter(|(_, used)| used == name)
            .map(|(user, _)| user.clone())
            .collect()
    }
}

fn opened() -> (Rules, Supply) {
    let repository = Repository::open().expect("the repository can be read");
    let rules: Rules =
        toml::from_str(&repository.text("deny.toml")).expect("deny.toml has the sections checked here");
    let mut options = vec!["--locked", "--all-features"];
    for target in &rules.graph.targets {
        options.extend(["--filter-platform", target]);
    }
    let metadata = repository
        .metadata(&options)
        .expect("cargo knows all crates (a build has fetched them)");
    let supply = Supply::read(&metadata);
    assert!(
        supply.packages.len() > 20,
        "cargo metadata shows only {} crates",
        supply.packages.len()
    );
    (rules, supply)
}

fn report(violations: impl Iterator<Item = String>) {
    let all: Vec<String> = violations.collect();
    assert!(all.is_empty(), "\n  {}\n", all.join("\n  "));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}
