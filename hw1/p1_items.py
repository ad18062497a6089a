def write(args, runtime, recipe, folder, history, settings):
    return {"history": history}
