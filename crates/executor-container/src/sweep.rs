//! What a killed Trainyard left behind: found by label, removed on the next start.

use std::collections::HashMap;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
};

use crate::engine::Engine;

/// The label of everything made here; its value names the process, as `PID-START`.
pub const LABEL: &str = "trainyard.process";
/// The label that names the run.
pub const RUN_LABEL: &str = "trainyard.run";

/// How much was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
    /// Volumes without a name.
    pub volumes: usize,
}

impl Engine {
    /// Removes what carries the label of a process for which `gone` is true. What cannot be removed
    /// is left for the next time.
    pub fn sweep(&self, gone: &dyn Fn(&str) -> bool) -> Swept {
        let mut swept = Swept::default();
        let dead = |labels: Option<&HashMap<String, String>>| {
            labels.and_then(|l| l.get(LABEL)).is_some_and(|p| gone(p))
        };
        self.wait(async {
            let filters = HashMap::from([("label", vec![LABEL])]);
            let list = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
            for container in self.docker.list_containers(Some(list)).await.unwrap_or_default() {
                if !dead(container.labels.as_ref()) {
                    continue;
                }
                let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                let id = container.id.unwrap_or_default();
                swept.containers +=
                    usize::from(self.docker.remove_container(&id, Some(force)).await.is_ok());
            }
            let list = ListNetworksOptionsBuilder::default().filters(&filters).build();
            for network in self.docker.list_networks(Some(list)).await.unwrap_or_default() {
                if dead(network.labels.as_ref()) {
                    let name = network.name.unwrap_or_default();
                    swept.networks += usize::from(self.docker.remove_network(&name).await.is_ok());
                }
            }
            let list = ListVolumesOptionsBuilder::default().filters(&filters).build();
            let volumes = self.docker.list_volumes(Some(list)).await.ok().and_then(|v| v.volumes);
            for volume in volumes.unwrap_or_default() {
                if dead(Some(&volume.labels)) {
                    let force = RemoveVolumeOptionsBuilder::default().force(true).build();
                    swept.volumes += usize::from(
                        self.docker.remove_volume(&volume.name, Some(force)).await.is_ok(),
                    );
                }
            }
        });
        swept
    }
}
