//! Making the space of a plan.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{
    Space, TWILIO,
    folders::{Children, Folders, Parent},
    members::AllMembers,
};
use crate::{engine::plan::Plan, tag::PathIndex};

impl Space {
    /// The space of `plan`. A folder's NodeVersion is `version`.
    pub fn build(plan: Arc<Plan>, version: u32) -> Self {
        static GENERATION: AtomicUsize = AtomicUsize::new(1);
        let members = AllMembers::of(&plan);
        let mut space = Self {
            by_path: PathIndex::default(),
            plan,
            folders: Folders::default(),
            members,
            children: Children::default(),
            conditions: Vec::new(),
            doubled: Vec::new(),
            has_methods: false,
            version,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            sessions: Arc::default(),
        };
        let plan = Arc::clone(&space.plan);
        let mut parents = Vec::with_capacity(plan.tags.len());
        let mut last: Option<(&str, u32)> = None;
        for def in &plan.tags {
            // Neighbours in the plan are most often neighbours in a folder.
            let parent = match (def.path.parent(), last) {
                (None, _) => Parent::Objects,
                (Some(path), Some((known, index))) if known == path => Parent::Own(index),
                (Some(path), _) => {
                    let index = space.ensure(path);
                    last = Some((path, index));
                    Parent::Own(index)
                }
            };
            parents.push(parent);
        }
        for (number, alarm) in (0..).zip(&plan.alarms) {
            parents.push(Parent::Own(space.ensure(&folder_of(&alarm.path))));
            if alarm.path.starts_with("System/")
                && let Some((folder, _)) = alarm.path.rsplit_once('/')
            {
                let folder = space.ensure(folder);
                space.doubled.push((number, folder));
            }
        }
        space.has_methods = space.find_path(TWILIO).is_some();
        for folder in 0..space.folders.len() {
            let parent = space.folders.path(folder).rsplit_once('/').and_then(|(parent, _)| space.find_path(parent));
            parents.push(parent.map_or(Parent::Objects, Parent::Own));
            space.folders.set_version(folder, version);
        }
        space.attach(&parents);
        space.hang_conditions();
        space.folders.finish();
        space
    }

    fn attach(&mut self, parents: &[Parent]) {
        let (first, alarms) = (self.first_alarm(), self.first_alarm());
        let doubled = &self.doubled;
        self.children = Children::new(first, self.first_fixed(), &|each| {
            for (child, parent) in (0..).zip(parents) {
                each(child, *parent);
            }
            for (alarm, folder) in doubled {
                each(alarms + alarm, Parent::Own(*folder));
            }
        });
    }

    /// Notes to which nodes conditions belong, and the folders above them.
    fn hang_conditions(&mut self) {
        let plan = Arc::clone(&self.plan);
        for (number, alarm) in (0..).zip(&plan.alarms) {
            let mut path = source_of(&alarm.path);
            let Some(source) = self.find_path(path) else { continue };
            self.conditions.push((source, number));
            if source >= self.first_folder() {
                self.folders.mark(source - self.first_folder());
            }
            while let Some((parent, _)) = path.rsplit_once('/') {
                path = parent;
                let folder = self.find_path(path).and_then(|index| index.checked_sub(self.first_folder()));
                if folder.is_some_and(|folder| !self.folders.mark(folder)) {
                    break;
                }
            }
        }
        self.conditions.sort_unstable();
    }

    /// The node at `path`, or a folder made for it and those above it.
    fn ensure(&mut self, path: &str) -> u32 {
        if let Some(index) = self.find_path(path) {
            return index;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.ensure(parent);
        }
        let folder = self.folders.add(path);
        self.by_path.insert(path, folder);
        self.first_folder() + folder
    }
}

/// What the alarm at `path` belongs to: `<path>/Alarms/<name>`.
pub fn source_of(path: &str) -> &str {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    folder.strip_suffix("/Alarms").unwrap_or(folder)
}

/// Where the alarm at `path` is browsed: `Alarms/<tag path>`.
pub fn folder_of(path: &str) -> String {
    format!("Alarms/{}", source_of(path))
}
