package join

import (
	"github.com/lockstep-sync/lockstep/daemon/transport"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// admissionDomain begins what an admission's signature signs: no other signature
// of a node's means this.
const admissionDomain = "lockstep 2026 node admission v1\x00"

func admission(cluster id.Cluster, node id.Node) []byte {
	b := append([]byte(admissionDomain), cluster[:]...)
	return append(b, node[:]...)
}

// SignAdmission returns what goes into a node record's Signature: by's word that
// node was let into cluster.
func SignAdmission(by *transport.Identity, cluster id.Cluster, node id.Node) []byte {
	return by.Sign(admission(cluster, node))
}

// VerifyAdmission reports whether r was signed by the node that it names. Whether
// that node was a member is for the caller to know.
func VerifyAdmission(cluster id.Cluster, r meta.NodeRecord) bool {
	return transport.Verify(r.AdmittedBy, admission(cluster, r.ID), r.Signature)
}
