//! GitHub's schemas, compiled once into an arena.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value as Json;
use trainyard_expression::Scope;

/// Index of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DefId(u32);

/// A set of schema context entries (`github`, `success(0,MAX)`), as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Allowed(u32);

impl Allowed {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn union(self, other: Allowed) -> Allowed {
        Allowed(self.0 | other.0)
    }
}

#[derive(Debug)]
pub(crate) struct Def {
    pub(crate) allowed: Allowed,
    pub(crate) kind: DefKind,
}

#[derive(Debug)]
pub(crate) enum DefKind {
    Null,
    Bool,
    Number,
    String { constant: Option<String>, non_empty: bool },
    Sequence(DefId),
    Mapping(MappingDef),
    OneOf(Vec<DefId>),
}

#[derive(Debug)]
pub(crate) struct MappingDef {
    pub(crate) properties: Vec<Property>,
    pub(crate) loose: Option<(DefId, DefId)>,
}

#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) value: DefId,
    pub(crate) required: bool,
}

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    defs: Vec<Def>,
    names: BTreeMap<String, DefId>,
    entries: Vec<String>,
}

/// The schema of workflow files.
pub(crate) fn workflow() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema: Json = parse(include_str!("../schema/workflow-v1.0.json"));
        // Keys that live files use and no public schema has yet: easy to extend here.
        // `cache-mode` is in actions/setup-java's own workflows.
        {
            let job = "job-factory";
            schema["definitions"][job]["mapping"]["properties"]["cache-mode"] =
                Json::String("string".into());
        }
        // The runner's own schema lets an image be empty: then the job has no container.
        schema["definitions"]["container-mapping"]["mapping"]["properties"]["image"] =
            Json::String("string".into());
        Schema::compile(&schema)
    })
}

/// The schema of action files.
pub(crate) fn action() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::compile(&parse(include_str!("../schema/action-v1.0.json"))))
}

#[allow(clippy::expect_used)]
fn parse(text: &str) -> Json {
    serde_json::from_str(text).expect("the embedded schema is JSON, and a test reads it")
}

impl Schema {
    pub(crate) fn def(&self, id: DefId) -> &Def {
        &self.defs[id.0 as usize]
    }

    /// A definition by name. The names are ours, and a test asks for each.
    #[allow(clippy::expect_used)]
    pub(crate) fn named(&self, name: &str) -> DefId {
        *self.names.get(name).expect("the schema has this definition")
    }

    /// Whether there is a definition of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// What an expression may use under these context entries.
    pub(crate) fn scope(&self, allowed: Allowed) -> Scope {
        Scope::from_schema(
            self.entries
                .iter()
                .enumerate()
                .filter(|(i, _)| allowed.0 & (1 << i) != 0)
                .map(|(_, e)| e.as_str()),
        )
    }

    /// The plain definitions that a definition stands for, one-ofs unfolded.
    pub(crate) fn flatten(&self, id: DefId, out: &mut Vec<DefId>) {
        match &self.def(id).kind {
            DefKind::OneOf(items) => items.iter().for_each(|i| self.flatten(*i, out)),
            _ => out.push(id),
        }
    }

    fn compile(schema: &Json) -> Schema {
        let empty = serde_json::Map::new();
        let definitions = schema["definitions"].as_object().unwrap_or(&empty);
        let mut compiled = Schema { defs: Vec::new(), names: BTreeMap::new(), entries: Vec::new() };
        let any = ["null", "boolean", "number", "string", "sequence", "mapping"];
        for name in any.into_iter().chain(["any", "scalar"]) {
            compiled.name(name);
        }
        for name in definitions.keys() {
            compiled.name(name);
        }
        let ids = |names: &[&str], c: &Schema| names.iter().map(|n| c.named(n)).collect();
        let string = compiled.named("string");
        let any_id = compiled.named("any");
        let builtin = [
            ("null", DefKind::Null),
            ("boolean", DefKind::Bool),
            ("number", DefKind::Number),
            ("string", DefKind::String { constant: None, non_empty: false }),
            ("sequence", DefKind::Sequence(any_id)),
            (
                "mapping",
                DefKind::Mapping(MappingDef {
                    properties: Vec::new(),
                    loose: Some((string, any_id)),
                }),
            ),
            ("any", DefKind::OneOf(ids(&any, &compiled))),
            ("scalar", DefKind::OneOf(ids(&any[..4], &compiled))),
        ];
        for (name, kind) in builtin {
            compiled.set(name, Allowed::default(), kind);
        }
        for (name, definition) in definitions {
            let allowed = compiled.allowed(&definition["context"]);
            let kind = compiled.kind(definition);
            compiled.set(name, allowed, kind);
        }
        compiled
    }

    fn name(&mut self, name: &str) -> DefId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = self.push(Def { allowed: Allowed::default(), kind: DefKind::Null });
        self.names.insert(name.to_owned(), id);
        id
    }

    #[allow(clippy::cast_possible_truncation)]
    fn push(&mut self, def: Def) -> DefId {
        self.defs.push(def);
        DefId((self.defs.len() - 1) as u32)
    }

    fn set(&mut self, name: &str, allowed: Allowed, kind: DefKind) {
        let id = self.named(name);
        self.defs[id.0 as usize] = Def { allowed, kind };
    }

    fn allowed(&mut self, context: &Json) -> Allowed {
        let mut bits = 0;
        for entry in context.as_array().into_iter().flatten().filter_map(Json::as_str) {
            let at = match self.entries.iter().position(|e| e == entry) {
                Some(at) => at,
                None => {
                    self.entries.push(entry.to_owned());
                    self.entries.len() - 1
                }
            };
            bits |= 1 << at;
        }
        Allowed(bits)
    }

    fn kind(&mut self, definition: &Json) -> DefKind {
        if let Some(values) = definition["allowed-values"].as_array() {
            let items = values
                .iter()
                .filter_map(Json::as_str)
                .map(|v| {
                    self.push(Def {
                        allowed: Allowed::default(),
                        kind: DefKind::String { constant: Some(v.to_owned()), non_empty: false },
                    })
                })
                .collect();
            return DefKind::OneOf(items);
        }
        if let Some(items) = definition["one-of"].as_array() {
            return DefKind::OneOf(
                items.iter().filter_map(Json::as_str).map(|n| self.name(n)).collect(),
            );
        }
        if let Some(string) = definition.get("string") {
            return DefKind::String {
                constant: string["constant"].as_str().map(str::to_owned),
                non_empty: string["require-non-empty"].as_bool().unwrap_or(false),
            };
        }
        if let Some(sequence) = definition.get("sequence") {
            return DefKind::Sequence(self.name(sequence["item-type"].as_str().unwrap_or("any")));
        }
        if let Some(mapping) = definition.get("mapping") {
            let mut properties = Vec::new();
            for (name, value) in mapping["properties"].as_object().into_iter().flatten() {
                let type_name = value.as_str().or_else(|| value["type"].as_str());
                properties.push(Property {
                    name: name.clone(),
                    value: self.name(type_name.unwrap_or("any")),
                    required: value["required"].as_bool().unwrap_or(false),
                });
            }
            let loose = mapping["loose-key-type"].as_str().map(|key| {
                let value = mapping["loose-value-type"].as_str().unwrap_or("any");
                (self.name(key), self.name(value))
            });
            return DefKind::Mapping(MappingDef { properties, loose });
        }
        if definition.get("boolean").is_some() {
            return DefKind::Bool;
        }
        if definition.get("number").is_some() {
            return DefKind::Number;
        }
        DefKind::Null
    }
}
