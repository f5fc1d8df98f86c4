package manifest

func probe() {}
