// Command controlplane is a Kubernetes control plane in one binary: etcd, the
// API server, the controller manager, the scheduler and kubectl, all from
// their own packages. The first argument (or the name it is called by) picks
// the program; the rest is passed on untouched:
//
//	controlplane kube-apiserver --etcd-servers=...
//
// lockkeeper's tests and its demo run it through cluster/clustertest. It is a
// Go module of its own because k8s.io/kubernetes needs a replacement for every
// staging module, which must not leak into lockkeeper's go.mod.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // time zones of CronJobs, as in the upstream binaries

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"lockkeeper/testdata/controlplane/lifeline"
)

var programs = map[string]func(){
	"etcd":                    func() { lifeline.Hold(); etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { serve(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() { serve(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() { serve(scheduler.NewSchedulerCommand()) },
	"kubectl":                 runKubectl,
}

func main() {
	name := filepath.Base(os.Args[0])
	if programs[name] == nil && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	run := programs[name]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl [flags]")
		os.Exit(2)
	}
	os.Args[0] = name
	run()
}

func serve(command *cobra.Command) {
	lifeline.Hold()
	os.Exit(cli.Run(command))
}

// runKubectl does what upstream's cmd/kubectl does: the verbosity is needed
// before the command is built, since plugins and kuberc are read while building.
func runKubectl() {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
