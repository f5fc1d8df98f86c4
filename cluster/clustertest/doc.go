// Package clustertest starts a real Kubernetes control plane for tests and for
// the demo: etcd, the API server and, if nodes are asked for, the controller
// manager, the scheduler and kwok, which plays the nodes. Nothing is simulated
// but the containers: dry-runs, defaulting, admission, field ownership,
// watches, garbage collection and rollouts are the real thing.
//
//	cp := clustertest.New(t, clustertest.Options{})          // API server only, about 2 s
//	cp := clustertest.New(t, clustertest.Options{Nodes: 3})  // Deployments become available
//
// One control plane for all tests of a package:
//
//	var shared = clustertest.Shared{}
//
//	func TestMain(m *testing.M) { shared.Main(m) }
//	func TestX(t *testing.T)    { cp := shared.Get(t); ns := cp.Namespace(t) }
//
// # Binaries
//
// The programs come from testdata/controlplane, a Go module of its own, and
// are built into the repository's bin/ on first use, or beforehand with
//
//	go run ./cluster/clustertest/build
//
// A stamp over sources, go.sum and Go version makes later calls free. A file
// lock lets the test packages that `go test` runs side by side build once.
//
// # Life of the processes
//
// Everything of one control plane is in one temporary directory: keys, data,
// logs, kubeconfig. Stop kills the processes and removes it. When the parent
// ends without Stop (SIGKILL, a test timeout, Ctrl-C), each child sees the end
// of its standard input, a pipe that only the parent holds open, and exits;
// etcd removes the directory on its way out. Children are process group
// leaders, so that Ctrl-C reaches the parent alone and it can end in order.
//
// # What differs from a production cluster
//
// etcd does not sync to disk. People come in by static tokens and
// client certificates. Controllers run
// as cluster administrators. Without nodes, nothing is reconciled: no
// namespace is ever fully deleted, owners' dependents are not collected, and
// no service account appears, so that pods are refused (Deployments are not).
// Pods on kwok nodes are ready at once and Jobs complete at once; a pod that
// must not become ready asks for a node that does not exist (nodeSelector).
package clustertest
