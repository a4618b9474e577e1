//! A cluster for each node: an overlay of `deploy/kubernetes/base` for each region.

use std::path::{Path, PathBuf};

use super::files::PlannedFile;
use super::mesh::{PlannedMesh, PlannedNode};

/// A file of the base, as it is.
macro_rules! base {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../deploy/kubernetes/base/",
                $name
            )),
        )
    };
}

const BASE: [(&str, &str); 7] = [
    base!("disruption-budget.yaml"),
    base!("kustomization.yaml"),
    base!("network-policy.yaml"),
    base!("node.yaml"),
    base!("service-account.yaml"),
    base!("services.yaml"),
    base!("stateful-set.yaml"),
];

/// Where keys of providers are.
const SECRETS: &str = "secrets.env";

pub(super) fn files(mesh: &PlannedMesh) -> Vec<PlannedFile> {
    let base = Path::new("base");
    let mut files: Vec<PlannedFile> = BASE
        .iter()
        .map(|(name, text)| PlannedFile::plain(base.join(name), *text))
        .collect();
    for node in &mesh.nodes {
        let folder = PathBuf::from(node.name.as_str());
        let secrets = format!("admin-token={}\n{}", mesh.admin_token, mesh.key_lines());
        files.extend([
            PlannedFile::plain(folder.join("kustomization.yaml"), kustomization(node)),
            PlannedFile::plain(folder.join("stateful-set.yaml"), stateful_set(mesh)),
            PlannedFile::plain(folder.join("mesh-service.yaml"), mesh_service(node)),
            PlannedFile::plain(folder.join("network-policy.yaml"), NETWORK_POLICY),
            PlannedFile::secret(folder.join(SECRETS), secrets),
        ]);
    }
    files
}

fn kustomization(node: &PlannedNode) -> String {
    let (name, region) = (&node.name, &node.region);
    format!(
        "# The cluster of region {region}. Written by `grapevine init`, and yours to change.\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\n\
         kind: Kustomization\n\
         namespace: grapevine\n\
         namePrefix: {region}-\n\
         resources:\n  - ../base\n  - mesh-service.yaml\n\
         configMapGenerator:\n  - {{name: grapevine, behavior: replace, files: [node.yaml]}}\n\
         # The node's certificate, and keys of providers with the admin port's token.\n\
         secretGenerator:\n  - name: grapevine-mesh\n    \
           files: [mesh/mesh-ca.pem, mesh/{name}.pem, mesh/{name}.key]\n  \
           - {{name: grapevine, envs: [{SECRETS}]}}\n\
         generatorOptions: {{disableNameSuffixHash: true}}\n\
         patches:\n  - target: {{kind: StatefulSet, name: grapevine}}\n    path: stateful-set.yaml\n  \
           - target: {{kind: NetworkPolicy, name: grapevine}}\n    path: network-policy.yaml\n"
    )
}

/// The variables of the base that the configuration does not name go; those of the providers come.
fn stateful_set(mesh: &PlannedMesh) -> String {
    let mut text = String::from(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: grapevine\nspec:\n  replicas: 1\n  template:\n    \
         spec:\n      containers:\n        - name: grapevine\n          env:\n            \
         # The configuration says these.\n",
    );
    for name in [
        "ADVERTISE",
        "GRAPEVINE_MESH_SEEDS",
        "UPSTREAM_URL",
        "UPSTREAM_API_KEY",
        "APP_KEY_HASH",
    ] {
        text.push_str(&format!("            - {{name: {name}, $patch: delete}}\n"));
    }
    for variable in mesh.variables() {
        text.push_str(&format!(
            "            - name: {variable}\n              \
             valueFrom: {{secretKeyRef: {{name: grapevine, key: {variable}}}}}\n"
        ));
    }
    text
}

/// A name is written to DNS by external-dns; an address is asked for.
fn mesh_service(node: &PlannedNode) -> String {
    let (host, port) = node
        .advertise
        .rsplit_once(':')
        .unwrap_or((&node.advertise, "7171"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (annotation, address) = match host.parse::<std::net::IpAddr>() {
        Ok(_) => (String::new(), format!("  loadBalancerIP: \"{host}\"\n")),
        Err(_) => (
            format!("  annotations:\n    external-dns.alpha.kubernetes.io/hostname: {host}\n"),
            String::new(),
        ),
    };
    format!(
        "# The other clusters reach the node here: {host} must lead to it.\n\
         apiVersion: v1\nkind: Service\nmetadata:\n  name: grapevine-mesh-0\n{annotation}spec:\n  \
         type: LoadBalancer\n{address}  externalTrafficPolicy: Local\n  publishNotReadyAddresses: true\n  selector:\n    \
         statefulset.kubernetes.io/pod-name: {}\n  ports:\n    \
         - {{name: mesh, port: {port}, targetPort: mesh, protocol: UDP}}\n",
        node.name
    )
}

const NETWORK_POLICY: &str = "\
# The other clusters' nodes. The mesh has mutual TLS; narrow this to the addresses with which they call out.
- op: add
  path: /spec/ingress/1/from/-
  value: {ipBlock: {cidr: 0.0.0.0/0}}
- op: add
  path: /spec/ingress/1/from/-
  value: {ipBlock: {cidr: \"::/0\"}}
";

pub(super) fn next(mesh: &PlannedMesh) -> [String; 3] {
    let folder = mesh.folder.display();
    let each = mesh.folder.join("NODE").join(SECRETS);
    [
        super::keys_step(mesh, &each),
        format!(
            "name the image in {folder}/base/kustomization.yaml; kubectl create namespace grapevine, in each cluster"
        ),
        format!(
            "kubectl --context CLUSTER apply -k {folder}/NODE, for each of {}",
            mesh.names()
        ),
    ]
}
