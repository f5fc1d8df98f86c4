package manifest

import (
	"strings"
	"testing"
)

// Threats 3 and 5: what would run code or reach out is refused by name, with
// file and line, before Kustomize sees it.
func TestKustomizationsThatReachOutAreRefusedByName(t *testing.T) {
	const r = "resources:\n- ok.yaml\n"
	for name, c := range map[string]struct {
		kustomization string
		line          int
		want          []string
	}{
		"remote base":               {r + "- https://github.com/x/y//base?ref=v1", 3, []string{"https://github.com/x/y//base", "is remote"}},
		"remote base with password": {r + "- https://me:secret99@example.com/x/y", 3, []string{"https://***@example.com", "is remote"}},
		"remote file":               {r + "- http://example.com/x.yaml", 3, []string{"is remote"}},
		"upper case":                {r + "- HTTPS://example.com/x.yaml", 3, []string{"is remote"}},
		"scp-like base":             {r + "- git@example.com:x/y", 3, []string{"git@example.com:x/y", "is remote"}},
		"user and host":             {r + "- user@github.com/x/y", 3, []string{"is remote"}},
		"github shorthand":          {r + "- github.com/x/y", 3, []string{"is remote"}},
		"go-getter":                 {r + "- git::https://example.com/x", 3, []string{"is remote"}},
		"ssh":                       {r + "- ssh://git@example.com/x", 3, []string{"is remote"}},
		"file URL":                  {r + "- file:///etc", 3, []string{"is remote"}},
		"ref":                       {r + "- some/dir?ref=main", 3, []string{"is remote"}},
		"bases":                     {r + "bases:\n- github.com/x/y", 4, []string{"bases:", "is remote"}},
		"component":                 {r + "components:\n- https://example.com/x", 4, []string{"components:", "is remote"}},
		"patch":                     {r + "patches:\n- path: https://example.com/p.yaml", 4, []string{"patches:", "is remote"}},
		"strategic patch":           {r + "patchesStrategicMerge:\n- https://example.com/p.yaml", 4, []string{"patchesStrategicMerge:", "is remote"}},
		"JSON patch":                {r + "patchesJson6902:\n- path: https://example.com/p.yaml\n  target: {kind: A, name: b, version: v1}", 4, []string{"patchesJson6902:", "is remote"}},
		"replacement":               {r + "replacements:\n- path: https://example.com/p.yaml", 4, []string{"replacements:", "is remote"}},
		"generator file":            {r + "configMapGenerator:\n- name: x\n  files: [a=https://example.com/f]", 5, []string{"configMapGenerator:", "is remote"}},
		"generator env":             {r + "secretGenerator:\n- name: x\n  envs: [https://example.com/f]", 5, []string{"secretGenerator:", "is remote"}},
		"crds":                      {r + "crds: [https://example.com/f]", 3, []string{"crds:", "is remote"}},
		"configurations":            {r + "configurations: [https://example.com/f]", 3, []string{"is remote"}},
		"openapi":                   {r + "openapi: {path: https://example.com/f}", 3, []string{"openapi:", "is remote"}},
		"transformer file":          {r + "transformers: [https://example.com/f]", 3, []string{"transformers:", "is remote"}},
		"outside, base":             {r + "- ../../elsewhere", 3, []string{"../../elsewhere", "points outside the tree"}},
		"outside, absolute":         {r + "- /etc/passwd", 3, []string{"points outside the tree"}},
		"outside, and back in":      {r + "- ../../the-repository/base", 3, []string{"points outside the tree"}},
		"outside, file":             {r + "configMapGenerator:\n- name: x\n  files: [../../../etc/passwd]", 5, []string{"points outside the tree"}},
		"outside, patch":            {r + "patches:\n- path: ../../p.yaml", 4, []string{"points outside the tree"}},
		"helmCharts":                {r + "helmCharts:\n- name: x\n  repo: https://example.com", 3, []string{"helmCharts is refused", "helm template"}},
		"helmGlobals":               {r + "helmGlobals: {chartHome: x}", 3, []string{"helmGlobals is refused"}},
		"old helm field":            {r + "helmChartInflationGenerator:\n- chartName: x", 3, []string{"helmChartInflationGenerator is refused"}},
		"helm generator":            {r + "generators: [helm.yaml]", 3, []string{"HelmChartInflationGenerator is refused"}},
		"exec plugin":               {r + "generators: [exec.yaml]", 3, []string{"MyPlugin", "example.com/v1", "exec plugin"}},
		"exec transformer":          {r + "transformers: [exec.yaml]", 3, []string{"exec plugin"}},
		"exec validator":            {r + "validators: [exec.yaml]", 3, []string{"exec plugin"}},
		"container function":        {r + "transformers: [function.yaml]", 3, []string{"function plugin"}},
		"inline plugin":             {r + "transformers:\n- |-\n  apiVersion: example.com/v1\n  kind: Inline\n  metadata: {name: x}", 4, []string{"Inline", "exec plugin"}},
		"file of a builtin plugin":  {r + "transformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: x}\n  path: https://example.com/p.yaml", 3, []string{"is remote"}},
		"unknown field":             {r + "resource: [x]", 3, []string{`no field "resource"`}},
		"missing resource":          {r + "- nope.yaml", 3, []string{"there is no top/nope.yaml"}},
		"encrypted file":            {r + "secretGenerator:\n- name: x\n  files: [enc.yaml]", 5, []string{"SOPS", "not supported yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := repo(map[string]string{
				"top/ok.yaml":             configMap("ok"),
				"top/kustomization.yaml":  c.kustomization,
				"top/helm.yaml":           "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\n",
				"top/exec.yaml":           "apiVersion: example.com/v1\nkind: MyPlugin\nmetadata: {name: x}\n",
				"top/function.yaml":       "apiVersion: builtin\nkind: F\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: 'container: {image: x}'\n",
				"top/enc.yaml":            "a: ENC[AES256_GCM,data:x]\nsops: {mac: x}\n",
				"base/kustomization.yaml": "resources: []\n",
			})
			got := problems(t, tree, "top")
			wantProblem(t, got, "top/kustomization.yaml", c.line, c.want...)
			for _, p := range got {
				if strings.Contains(p.Message, "secret99") {
					t.Errorf("the problem shows a password: %s", p)
				}
			}
		})
	}
}

func TestRefusalsReachIntoBases(t *testing.T) {
	tree := repo(map[string]string{
		"top/kustomization.yaml":      "resources: [../base]\n",
		"base/kustomization.yaml":     "components: [../component]\n",
		"component/kustomization.yml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources:\n- https://example.com/x\n",
	})
	wantProblem(t, problems(t, tree, "top"), "component/kustomization.yml", 4, "is remote")
}

// Threat 7: Kustomize quotes whole configurations in some errors.
func TestErrorsOfKustomizeShowNoSecrets(t *testing.T) {
	for name, in := range map[string]map[string]string{
		"literals":        {"top/kustomization.yaml": "secretGenerator:\n- name: x\n  literals: [password=hunter2hunter2]\n  files: [missing.txt]\n"},
		"bad literal":     {"top/kustomization.yaml": "secretGenerator:\n- name: x\n  literals: [hunter2hunter2]\n"},
		"env file":        {"top/kustomization.yaml": "secretGenerator:\n- name: x\n  envs: [x.env]\n", "top/x.env": "p=hunter2hunter2\xff\n"},
		"patch of Secret": {"top/kustomization.yaml": "resources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |-\n    op: hunter2hunter2\n    - nonsense\n", "top/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: hunter2hunter2}\n"},
		"broken Secret":   {"top/kustomization.yaml": "resources: [s.yaml]\n", "top/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: hunter2hunter2: x\n"},
		"plain":           {"top/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: !!int hunter2hunter2}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range problems(t, repo(in), "top") {
				if strings.Contains(p.String(), "hunter2") {
					t.Errorf("the problem shows a secret: %s", p)
				}
				t.Log(p)
			}
		})
	}
}
